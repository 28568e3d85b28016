// The same by half as many loads, where a load costs as much however wide it is. The sums mean nothing.
override WIDTH: u32 = 8;
override QUADS: u32 = 128;      // that one invocation reads

@group(0) @binding(0) var<storage, read> src: array<vec2<u64>>;
@group(0) @binding(1) var<storage, read_write> dst: array<u32>;

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = group.y * groups.x + group.x;
    let first = index * WIDTH * QUADS;
    let end = min(first + WIDTH * QUADS, arrayLength(&src));
    var a = vec2<u64>(0lu);
    var b = vec2<u64>(0lu);
    var c = vec2<u64>(0lu);
    var d = vec2<u64>(0lu);
    var q = first + local;
    for (; q + 3u * WIDTH < end; q += 4u * WIDTH) {
        a += src[q];
        b += src[q + WIDTH];
        c += src[q + 2u * WIDTH];
        d += src[q + 3u * WIDTH];
    }
    for (; q < end; q += WIDTH) {
        a += src[q];
    }
    let sum = a + b + c + d;
    let one = sum.x + sum.y;
    // Both halves count: else half of each load could go.
    dst[index * WIDTH + local] = u32(one) ^ u32(one >> 32u);
}
