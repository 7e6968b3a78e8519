// Strings sorted and made unique; the input is how many.
fn names(n: u64, round: u64) -> Vec<String> {
    (0..n).map(|i| format!("node-{:08x}", (i * 2_654_435_761 + round) % 4_294_967_291)).collect()
}

fn order(mut all: Vec<String>) -> usize {
    all.sort();
    all.dedup();
    all.len()
}

fn main() {
    let input: usize = std::env::args().nth(1).map_or(0, |it| it.parse().unwrap());
    for round in 0u64.. {
        std::hint::black_box(order(names([500, 10_000, 200_000][input], round)));
    }
}
