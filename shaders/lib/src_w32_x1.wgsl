alias Src = u32;

fn load_quad(base: u32, quad: u32) -> Cell {
    // Past the row's end the last element is read again; `store_quad` throws it away.
    let end = params.cols - 1u;
    let column = quad * 4u;
    return vec4(
        src_at(base + min(column, end)),
        src_at(base + min(column + 1u, end)),
        src_at(base + min(column + 2u, end)),
        src_at(base + min(column + 3u, end)),
    );
}
