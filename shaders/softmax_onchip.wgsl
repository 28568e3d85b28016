// Softmax with the row on chip: each invocation keeps some quads of it in registers, so that global memory is read
// once.

// What an invocation finds that does the work of all: nothing is kept, quad after quad. Short, since some devices
// step through it even where nobody is alone.
fn sum_alone(row: Row, quads: u32) -> Sum {
    var sum = start();
    for (var q = 0u; q < quads; q++) {
        let x = logits(row, q);
        if (row.hard) {
            sum.seen = classed(sum.seen, x);
            sum.partial = best(sum.partial, x, q * 4u);
        } else {
            sum = add_one(sum, x);
        }
    }
    return sum;
}

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let task = task_of(index, at);
    let row = task.row;
    let keep = kept(row, at, task.quads);
    var sum = sum_kept(row, at, keep);
    if (at.alone) {
        sum = sum_alone(row, select(0u, task.quads, at.first == 0u));
    }
    let total = reduce(at, subgroup_size, finished(row, at, sum, true), row.hard);
    let normal = normal_of(total);
    if (at.first == 0u && task.exists) {
        put_log_sum_exp(row, total, normal);
    }
    if (at.alone || special(total).is) {
        write(row, at, total, normal, 0u, task.end);
    } else {
        write_kept(Target(row, params.dst_offset + row.index * params.dst_stride, task.end, total, normal), at, keep);
    }
}
