alias Src = u32;

fn element(i: u32) -> u32 {
    return (src_at(i / 2u) >> (i % 2u * 16u)) & 0xffffu;
}

fn load_quad(base: u32, quad: u32) -> Cell {
    // Past the row's end the last element is read again; `store_quad` throws it away.
    let end = params.cols - 1u;
    let column = quad * 4u;
    return vec4(
        element(base + min(column, end)),
        element(base + min(column + 1u, end)),
        element(base + min(column + 2u, end)),
        element(base + min(column + 3u, end)),
    );
}
