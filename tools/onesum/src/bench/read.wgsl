// Reads everything and computes next to nothing: the limit of what looks at each logit once.
override WIDTH: u32 = 8;
override QUADS: u32 = 128;      // that one invocation reads

@group(0) @binding(0) var<storage, read> src: array<Quad>;
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
    var a = Quad();
    var b = Quad();
    var c = Quad();
    var d = Quad();
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
    dst[index * WIDTH + local] = one_of(a + b + c + d);
}
