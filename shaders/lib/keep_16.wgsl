// 16 quads kept on chip.
struct Keep {
    f0: Four,
    f1: Four,
    f2: Four,
    f3: Four,
}

fn kept(row: Row, at: Lane, quads: u32) -> Keep {
    return Keep(
        four(row, at, 0u, quads),
        four(row, at, 4u, quads),
        four(row, at, 8u, quads),
        four(row, at, 12u, quads),
    );
}

fn sum_kept(row: Row, at: Lane, keep: Keep) -> Sum {
    var sum = start();
    sum = sum_four(sum, row, at, 0u, keep.f0);
    sum = sum_four(sum, row, at, 4u, keep.f1);
    sum = sum_four(sum, row, at, 8u, keep.f2);
    sum = sum_four(sum, row, at, 12u, keep.f3);
    return sum;
}

fn write_kept(to: Target, at: Lane, keep: Keep) {
    write_four(to, at, 0u, keep.f0);
    write_four(to, at, 4u, keep.f1);
    write_four(to, at, 8u, keep.f2);
    write_four(to, at, 12u, keep.f3);
}
