//! main -> alpha -> beta -> gamma, where the time goes.
use std::hint::black_box;

#[inline(never)]
fn gamma(values: &mut [u64]) -> u64 {
    let mut x = values.len() as u64;
    for value in values.iter_mut() {
        *value = value.wrapping_mul(6364136223846793005).wrapping_add(x);
        x ^= *value;
    }
    black_box(x)
}

#[inline(never)]
fn beta(values: &mut [u64]) -> u64 {
    let a = gamma(values);
    black_box(a.wrapping_add(gamma(values)))
}

#[inline(never)]
fn alpha(values: &mut [u64]) -> u64 {
    let copy = black_box([beta(values); 16]);
    black_box(copy[3].wrapping_mul(3))
}

fn main() {
    let mut values = vec![1u64; 20_000];
    loop {
        black_box(alpha(&mut values));
    }
}
