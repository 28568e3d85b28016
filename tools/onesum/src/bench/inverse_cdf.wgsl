// The rival of sampling from logits: the column where the running sum of a row's probabilities passes u, one workgroup a row.
// Each invocation sums a stretch of the row; the stretch where u falls is gone through again.
override WIDTH: u32 = 8;

struct Params {
    quads: u32,
    stretch: u32,       // quads of one invocation
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> probabilities: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> uniforms: array<f32>;
@group(0) @binding(3) var<storage, read_write> choices: array<u32>;

var<workgroup> sums: array<f32, WIDTH>;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = group.x * params.quads;
    let first = min(local * params.stretch, params.quads);
    let end = min(first + params.stretch, params.quads);
    var a = vec4(0.0);
    var b = vec4(0.0);
    var q = first;
    for (; q + 1u < end; q += 2u) {
        a += probabilities[row + q];
        b += probabilities[row + q + 1u];
    }
    for (; q < end; q++) {
        a += probabilities[row + q];
    }
    sums[local] = dot(a + b, vec4(1.0));
    workgroupBarrier();
    var before = 0.0;
    for (var i = 0u; i < local; i++) {
        before += sums[i];
    }
    let u = uniforms[group.x];
    let last = local == WIDTH - 1u || end == params.quads;
    if (first == end || u < before || (u >= before + sums[local] && !last)) {
        return;
    }
    var choice = end * 4u - 1u;
    var sum = before;
    for (var q = first; q < end; q++) {
        let p = probabilities[row + q];
        let parts = vec4(p.x, p.x + p.y, p.x + p.y + p.z, p.x + p.y + p.z + p.w);
        if (sum + parts.w > u) {
            let passed = vec4(sum) + parts > vec4(u);
            choice = q * 4u + select(select(select(3u, 2u, passed.z), 1u, passed.y), 0u, passed.x);
            break;
        }
        sum += parts.w;
    }
    choices[group.x] = choice;
}
