// Of `size` neighbours in a subgroup, a power of two and at most `most`: first the frame that is above all others, then sums
// within it, which are shorter work than merging as many times. All invocations of the workgroup shuffle as often as each other:
// `most` is the same for all, `size` need not be.
fn reduce_within(most: u32, size: u32, mine: Partial, hard: bool) -> Partial {
    var top = Partial(mine.anchor, mine.exponent, 0.0, 0.0);
    for (var distance = 1u; distance < most; distance *= 2u) {
        let anchor = subgroupShuffleXor(top.anchor, distance);
        let exponent = subgroupShuffleXor(top.exponent, distance);
        let other = Partial(anchor, exponent, 0.0, 0.0);
        if (distance < size && above(other, top)) {
            top = other;
        }
    }
    // Where the top is a choice, it may be several invocations' already: the same high and low then.
    let chooses = hard || top.exponent >= INFINITE;
    var share = Two(LOWEST, LOWEST);
    if (!chooses) {
        share = moved(mine, top.anchor, top.exponent);
    } else if (mine.anchor == top.anchor && mine.exponent == top.exponent) {
        share = Two(mine.high, mine.low);
    }
    for (var distance = 1u; distance < most; distance *= 2u) {
        let high = subgroupShuffleXor(share.sum, distance);
        let low = subgroupShuffleXor(share.error, distance);
        let sum = two_sum(share.sum, high);
        let all = Two(sum.sum, (share.error + low) + sum.error);
        if (distance < size && chooses) {
            share = Two(max(share.sum, high), max(share.error, low));
        } else if (distance < size) {
            share = all;
        }
    }
    return Partial(top.anchor, top.exponent, share.sum, share.error);
}
