alias Src = vec4<f32>;

fn load_quad(base: u32, quad: u32) -> vec4<f32> {
    return src_at(base + quad);
}
