alias Src = vec4<f16>;

fn load_quad(base: u32, quad: u32) -> vec4<f32> {
    return vec4<f32>(src_at(base + quad));
}
