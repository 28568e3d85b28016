// What an output of this type holds.
fn reload_quad(base: u32, quad: u32) -> vec4<f32> {
    let word = dst[base + quad];
    return vec4(brain_pair(u32(word)), brain_pair(u32(word >> 32u)));
}
