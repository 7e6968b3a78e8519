// The Mandelbrot set; the input is how deep.
fn escape(x: f64, y: f64, most: u32) -> u32 {
    let (mut a, mut b) = (0.0, 0.0);
    for n in 0..most {
        (a, b) = (a * a - b * b + x, 2.0 * a * b + y);
        if a * a + b * b > 4.0 {
            return n;
        }
    }
    most
}

fn picture(side: usize, most: u32) -> Vec<u32> {
    let at = |i: usize| i as f64 / side as f64 * 3.0 - 2.0;
    (0..side * side).map(|i| escape(at(i % side), at(i / side) + 0.5, most)).collect()
}

fn main() {
    let input: usize = std::env::args().nth(1).map_or(0, |it| it.parse().unwrap());
    loop {
        std::hint::black_box(picture([64, 256, 512][input], [50, 200, 1000][input]));
    }
}
