// Gives each slot the row of its pair's token, or zeros.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let work = work_of(index, at);
    for (var i = 0u; i < work.rows; i++) {
        fill_slot(work.row + i, work.first, work.end);
    }
}

fn fill_slot(slot: u32, first: u32, end: u32) {
    let into = params.dst_offset + slot * params.dst_stride;
    let pair = table_at(0u, slot);
    var quad = first;
    if (pair >= params.count) {
        for (; quad < end; quad += LANES) {
            store_quad(into, quad, Cell());
        }
        return;
    }
    let token = pair / params.choices;
    let weight = weight_of(token, pair - token * params.choices);
    let row = params.src_offset + token * params.src_stride;
    // Four at a time: their loads do not wait for each other.
    for (; quad + 3u * LANES < end; quad += 4u * LANES) {
        let a = load_quad(row, quad);
        let b = load_quad(row, quad + LANES);
        let c = load_quad(row, quad + 2u * LANES);
        let d = load_quad(row, quad + 3u * LANES);
        store_quad(into, quad, weighed(a, weight));
        store_quad(into, quad + LANES, weighed(b, weight));
        store_quad(into, quad + 2u * LANES, weighed(c, weight));
        store_quad(into, quad + 3u * LANES, weighed(d, weight));
    }
    for (; quad < end; quad += LANES) {
        store_quad(into, quad, weighed(load_quad(row, quad), weight));
    }
}
