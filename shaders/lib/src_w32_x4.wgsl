alias Src = vec4<u32>;

fn load_quad(base: u32, quad: u32) -> Cell {
    return src_at(base + quad);
}
