// The same bits by half as many loads, where a load costs as much however wide it is: lavapipe's take one lane after the other.
alias Src = u64;

fn load_quad(base: u32, quad: u32) -> vec4<f32> {
    let word = src_at(base + quad);
    return vec4(brain_pair(u32(word)), brain_pair(u32(word >> 32u)));
}
