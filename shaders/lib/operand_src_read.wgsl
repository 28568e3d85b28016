@group(0) @binding(1) var<storage, read> src: array<Src>;

fn src_at(i: u32) -> Src {
    return src[i];
}
