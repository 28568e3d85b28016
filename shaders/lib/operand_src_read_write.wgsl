// In a buffer that the same dispatch writes to: WebGPU wants every binding of it read-write.
@group(0) @binding(1) var<storage, read_write> src: array<Src>;

fn src_at(i: u32) -> Src {
    return src[i];
}
