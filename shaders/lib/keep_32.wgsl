// 32 quads kept on chip.
struct Keep {
    f0: Four,
    f1: Four,
    f2: Four,
    f3: Four,
    f4: Four,
    f5: Four,
    f6: Four,
    f7: Four,
}

fn kept(row: Row, at: Lane, quads: u32) -> Keep {
    return Keep(
        four(row, at, 0u, quads),
        four(row, at, 4u, quads),
        four(row, at, 8u, quads),
        four(row, at, 12u, quads),
        four(row, at, 16u, quads),
        four(row, at, 20u, quads),
        four(row, at, 24u, quads),
        four(row, at, 28u, quads),
    );
}

fn sum_kept(row: Row, at: Lane, keep: Keep) -> Sum {
    var sum = start();
    sum = sum_four(sum, row, at, 0u, keep.f0);
    sum = sum_four(sum, row, at, 4u, keep.f1);
    sum = sum_four(sum, row, at, 8u, keep.f2);
    sum = sum_four(sum, row, at, 12u, keep.f3);
    sum = sum_four(sum, row, at, 16u, keep.f4);
    sum = sum_four(sum, row, at, 20u, keep.f5);
    sum = sum_four(sum, row, at, 24u, keep.f6);
    sum = sum_four(sum, row, at, 28u, keep.f7);
    return sum;
}

fn write_kept(to: Target, at: Lane, keep: Keep) {
    write_four(to, at, 0u, keep.f0);
    write_four(to, at, 4u, keep.f1);
    write_four(to, at, 8u, keep.f2);
    write_four(to, at, 12u, keep.f3);
    write_four(to, at, 16u, keep.f4);
    write_four(to, at, 20u, keep.f5);
    write_four(to, at, 24u, keep.f6);
    write_four(to, at, 28u, keep.f7);
}
