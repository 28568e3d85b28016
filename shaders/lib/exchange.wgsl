fn exchanged(mine: Partial, distance: u32) -> Partial {
    return Partial(
        subgroupShuffleXor(mine.anchor, distance),
        subgroupShuffleXor(mine.exponent, distance),
        subgroupShuffleXor(mine.high, distance),
        subgroupShuffleXor(mine.low, distance),
    );
}

// Of `size` neighbours in a subgroup, a power of two and at most `most`. All invocations of the workgroup shuffle as
// often as each other: `most` is the same for all, `size` need not be.
fn reduce_within(most: u32, size: u32, mine: Partial, hard: bool) -> Partial {
    var all = mine;
    for (var distance = 1u; distance < most; distance *= 2u) {
        let other = exchanged(all, distance);
        if (distance < size) {
            all = merge(all, other, hard);
        }
    }
    return all;
}
