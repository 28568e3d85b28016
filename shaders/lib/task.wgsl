// The row that an invocation works on with LANES - 1 others. A workgroup has WIDTH / LANES rows; those past the end have
// no quads, but keep the others company: every invocation of a workgroup must reach its barriers.
struct Task {
    row: Row,
    exists: bool,
    quads: u32,     // to be summed
    end: u32,       // to be written
}

fn task_of(index: u32, at: Lane) -> Task {
    let wanted = index * (WIDTH / LANES) + at.local / LANES;
    let exists = wanted < params.rows;
    let row = row_of(min(wanted, params.rows - 1u));
    return Task(row, exists, select(0u, quads_in(row.limit), exists), select(0u, params.quads, exists));
}
