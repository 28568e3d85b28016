// What a row's noise depends on.
struct Stream {
    seed: vec2<u32>,
    position: vec2<u32>,
}
