// Reads back an f32 output that this invocation wrote.
fn reload_quad(base: u32, quad: u32) -> vec4<f32> {
    let pair = dst[base + quad];
    let high = pair >> vec2(32u);
    return bitcast<vec4<f32>>(vec4(u32(pair.x), u32(high.x), u32(pair.y), u32(high.y)));
}
