// The same bits by half as many loads, where a load costs as much however wide it is: lavapipe's take one lane after the other.
alias Src = vec2<u64>;

fn load_quad(base: u32, quad: u32) -> Cell {
    let pair = src_at(base + quad);
    let high = pair >> vec2(32u);
    return vec4(u32(pair.x), u32(high.x), u32(pair.y), u32(high.y));
}
