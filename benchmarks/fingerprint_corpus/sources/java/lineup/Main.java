import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Random;

/** Objects sorted with a comparator; the input is how many. */
public class Main {
    record Runner(String name, double time) {}

    static List<Runner> draw(Random random, int count) {
        List<Runner> all = new ArrayList<>(count);
        for (int i = 0; i < count; i++) all.add(new Runner("r" + random.nextInt(count), random.nextDouble()));
        return all;
    }

    static void lineUp(List<Runner> all) {
        all.sort(Comparator.comparing(Runner::name).thenComparingDouble(Runner::time));
    }

    public static void main(String[] args) {
        int count = new int[] {500, 10_000, 200_000}[args.length > 0 ? Integer.parseInt(args[0]) : 0];
        for (Random random = new Random(7); ; ) lineUp(draw(random, count));
    }
}
