// Zeros where there is nothing to read: no tokens to fill slots from, no slots to add up.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let work = work_of(index, at);
    for (var i = 0u; i < work.rows; i++) {
        for (var quad = work.first; quad < work.end; quad += LANES) {
            store_quad(params.dst_offset + (work.row + i) * params.dst_stride, quad, Cell());
        }
    }
}
