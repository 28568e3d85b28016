alias Src = vec2<u32>;

fn load_quad(base: u32, quad: u32) -> vec4<f32> {
    let word = src_at(base + quad);
    return vec4(half_pair(word.x), half_pair(word.y));
}
