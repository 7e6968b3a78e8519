/** main -> alpha -> beta -> gamma, where the time goes; two more threads do the same from run. */
public final class Chain implements Runnable {
  private static volatile long sink;

  private static long gamma(long[] values) {
    long x = values.length;
    for (int i = 0; i < values.length; i++) {
      values[i] = values[i] * 6364136223846793005L + x;
      x ^= values[i];
    }
    return x;
  }

  private static long beta(long[] values) {
    return gamma(values) * 3 + 1;
  }

  private static long alpha(long[] values) {
    return beta(values) + beta(values);
  }

  @Override
  public void run() {
    long[] values = new long[20000];
    for (;;) {
      sink = alpha(values);
    }
  }

  public static void main(String[] arguments) {
    new Thread(new Chain()).start();
    new Chain().run();
  }
}
