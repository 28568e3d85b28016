// The same bits by half as many loads, where a load costs as much however wide it is: lavapipe's take one lane after the other.
alias Src = u64;

fn load_quad(base: u32, quad: u32) -> Cell {
    let word = src_at(base + quad);
    return vec2(u32(word), u32(word >> 32u));
}
