import java.util.HashMap;
import java.util.Map;

/** Bookings by account in a HashMap; the input is how many accounts. */
public class Main {
    static void book(Map<String, Long> accounts, int count) {
        for (int i = 0; i < 20_000; i++) accounts.merge("account-" + (i * 7919L % count), (long) i, Long::sum);
    }

    static long balance(Map<String, Long> accounts) {
        long sum = 0;
        for (Map.Entry<String, Long> one : accounts.entrySet()) sum += one.getValue() ^ one.getKey().length();
        return sum;
    }

    public static void main(String[] args) {
        int count = new int[] {50, 2_000, 20_000}[args.length > 0 ? Integer.parseInt(args[0]) : 0];
        for (long sink = 0; ; ) {
            Map<String, Long> accounts = new HashMap<>();
            book(accounts, count);
            sink += balance(accounts);
        }
    }
}
