// Words tallied in a HashMap; the input is the size of the vocabulary.
use std::collections::HashMap;

fn tally(text: &str) -> HashMap<String, u64> {
    let mut seen: HashMap<String, u64> = HashMap::new();
    for word in text.split_whitespace() {
        *seen.entry(word.to_lowercase()).or_insert(0) += 1;
    }
    seen
}

fn main() {
    let input: usize = std::env::args().nth(1).map_or(0, |it| it.parse().unwrap());
    let size = [50u64, 2_000, 40_000][input];
    let text: String = (0..100_000u64).map(|i| format!("Word{} ", i * 7919 % size)).collect();
    let mut sink = 0;
    loop {
        sink += tally(&text).len();
        std::hint::black_box(sink);
    }
}
