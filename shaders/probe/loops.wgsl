// How often loops go round: one loop, and as many iterations in several loops after each other. Each iteration changes a
// number so that no compiler knows the end.

@group(0) @binding(0) var<storage, read> asked: vec2<u32>;      // loops, and iterations of each
@group(0) @binding(1) var<storage, read_write> counted: vec2<u32>;

@compute @workgroup_size(1)
fn main() {
    var count = 0u;
    var state = asked.x;
    for (var outer = 0u; outer < asked.x; outer++) {
        for (var i = 0u; i < asked.y; i++) {
            state = state * 747796405u + 2891336453u;
            count++;
        }
    }
    counted = vec2(count, state);
}
