// Reads back an f32 output that this invocation wrote.
fn reload_quad(base: u32, quad: u32) -> vec4<f32> {
    return dst[base + quad];
}
