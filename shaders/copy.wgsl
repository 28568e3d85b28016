// Copies rows, quad by quad: the speed that every figure is a fraction of. Reads each input once, writes
// each output once, computes nothing.
fn run(index: u32, at: Lane, subgroup_size: u32) {
    let total = params.rows * params.quads;
    let first = index * WIDTH * params.part_quads;
    for (var i = 0u; i < params.part_quads; i++) {
        let q = first + i * WIDTH + at.local;
        if (q < total) {
            store_quad(params.dst_offset, q, load_quad(params.src_offset, q));
        }
    }
}
