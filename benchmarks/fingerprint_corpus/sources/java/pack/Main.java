import java.util.Random;
import java.util.zip.Deflater;

/** Blocks compressed with Deflater (native zlib); the input is what is in them. */
public class Main {
    static byte[] block(int kind) {
        Random random = new Random(7);
        StringBuilder text = new StringBuilder();
        while (text.length() < 1 << 19) {
            if (kind == 0) text.append("the node ").append(random.nextInt(16)).append(" is idle ");
            if (kind == 1) text.append("{\"id\": ").append(random.nextInt()).append("}");
            if (kind == 2) text.append((char) random.nextInt(128));
        }
        return text.toString().getBytes();
    }

    static int pack(byte[] data, byte[] out) {
        Deflater deflater = new Deflater(6);
        deflater.setInput(data);
        deflater.finish();
        int size = 0;
        while (!deflater.finished()) size += deflater.deflate(out);
        deflater.end();
        return size;
    }

    public static void main(String[] args) {
        byte[] data = block(args.length > 0 ? Integer.parseInt(args[0]) : 0), out = new byte[1 << 16];
        for (long sink = 0; ; ) sink += pack(data, out);
    }
}
