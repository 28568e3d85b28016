alias Dst = vec4<f32>;

fn store_quad(base: u32, quad: u32, y: vec4<f32>) {
    dst[base + quad] = y;
}
