// Four quads kept on chip.
struct Keep {
    f0: Four,
}

fn kept(row: Row, at: Lane, quads: u32) -> Keep {
    return Keep(
        four(row, at, 0u, quads),
    );
}

fn sum_kept(row: Row, at: Lane, keep: Keep) -> Sum {
    var sum = start();
    sum = sum_four(sum, row, at, 0u, keep.f0);
    return sum;
}

fn write_kept(to: Target, at: Lane, keep: Keep) {
    write_four(to, at, 0u, keep.f0);
}
