//! What is in a block: derived from its number and its generation, so that a block that is stale,
//! misplaced, torn or mixed up cannot look right.

/// Bytes of a block.
pub(crate) const BLOCK: usize = 4096;
const WORDS: usize = BLOCK / 8;
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Writes into `data` what `block` holds in its `generation`: zeroes in generation 0, which is a
/// block that was never written.
pub(crate) fn fill(data: &mut [u8], block: u32, generation: u32) {
    if generation == 0 {
        data.fill(0);
        return;
    }
    let seed = seed(block, generation);
    for (i, word) in data.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&word_at(block, generation, seed, i).to_le_bytes());
    }
}

/// Checks that `data` is what `block` holds in its `generation`; says what it is instead.
pub(crate) fn check(data: &[u8], block: u32, generation: u32) -> Result<(), String> {
    let seed = seed(block, generation);
    let expected = |i| if generation == 0 { 0 } else { word_at(block, generation, seed, i) };
    let good = data.len() == BLOCK
        && data.chunks_exact(8).enumerate().fold(0, |wrong, (i, w)| wrong | (word(w) ^ expected(i))) == 0;
    if good {
        return Ok(());
    }
    let first = data.chunks_exact(8).enumerate().find(|(i, w)| word(w) != expected(*i));
    let at = first.map_or(data.len(), |(i, _)| i * 8);
    Err(format!(
        "block {block}: expected generation {generation}, differs from byte {at} on; it says it is {}",
        identity(data)
    ))
}

fn identity(data: &[u8]) -> String {
    match data.get(..8).map(word) {
        Some(0) => "never written".to_owned(),
        Some(head) => format!("block {}, generation {}", head >> 32, head as u32),
        None => "nothing".to_owned(),
    }
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

/// The first word names the block, for whoever looks at a wrong one; the others are mixed.
#[inline]
fn word_at(block: u32, generation: u32, seed: u64, i: usize) -> u64 {
    debug_assert!(i < WORDS);
    if i == 0 { head(block, generation) } else { seed.wrapping_add(STEP.wrapping_mul(i as u64)) }
}

fn head(block: u32, generation: u32) -> u64 {
    u64::from(block) << 32 | u64::from(generation)
}

/// splitmix64 of block and generation.
fn seed(block: u32, generation: u32) -> u64 {
    let mut x = head(block, generation).wrapping_add(STEP);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_block_passes() {
        let mut data = vec![0; BLOCK];
        assert!(check(&data, 7, 0).is_ok(), "never written is all zeroes");
        fill(&mut data, 7, 3);
        assert!(check(&data, 7, 3).is_ok());
        for (block, generation) in [(7, 2), (7, 4), (8, 3), (7, 0)] {
            let error = check(&data, block, generation).expect_err("another block");
            assert!(error.contains("it says it is block 7, generation 3"), "{error}");
        }
    }

    #[test]
    fn one_wrong_byte_is_found_anywhere() {
        for at in [0, 8, 2048, BLOCK - 1] {
            let mut data = vec![0; BLOCK];
            fill(&mut data, 1, 1);
            data[at] ^= 1;
            let error = check(&data, 1, 1).expect_err("one bit differs");
            assert!(error.contains(&format!("from byte {} on", at / 8 * 8)), "{error}");
        }
        assert!(check(&[], 1, 1).is_err(), "short data is wrong data");
    }
}
