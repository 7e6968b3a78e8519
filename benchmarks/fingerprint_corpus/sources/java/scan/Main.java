import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Lines matched with java.util.regex; the input is the pattern. */
public class Main {
    static int scan(Pattern pattern, List<String> lines) {
        int found = 0;
        for (String line : lines) {
            Matcher matcher = pattern.matcher(line);
            while (matcher.find()) found += matcher.end() - matcher.start();
        }
        return found;
    }

    public static void main(String[] args) {
        String[] patterns = {"GET (/[a-z0-9/]+)\\?id=(\\d+)", "(host|node)-\\d+ .* (\\d+)ms$", "[aeiou]{2}.*(0|5)ms"};
        Pattern pattern = Pattern.compile(patterns[args.length > 0 ? Integer.parseInt(args[0]) : 0]);
        List<String> lines = new ArrayList<>();
        for (int i = 0; i < 500; i++) lines.add("2026-11-0" + i % 9 + " host-" + i + " GET /api/v1/nodes?id=" + i * 31 + " 200 " + i * 17 + "ms");
        for (long sink = 0; ; ) sink += scan(pattern, lines);
    }
}
