// Philox4x32-10 (Salmon, Moraes, Dror & Shaw, SC11). The `product_*` fragments say how a product's upper half is found.

struct Turn {
    counter: vec4<u32>,
    key: vec2<u32>,
}

fn turned(t: Turn) -> Turn {
    let c = t.counter;
    let left = upper_product(c.x, 0xd2511f53u);
    let right = upper_product(c.z, 0xcd9e8d57u);
    let counter = vec4(right ^ c.y ^ t.key.x, c.z * 0xcd9e8d57u, left ^ c.w ^ t.key.y, c.x * 0xd2511f53u);
    return Turn(counter, t.key + vec2(0x9e3779b9u, 0xbb67ae85u));
}

// No loop: iterations of an invocation are counted by some drivers (docs/adding-a-kernel.md).
fn philox(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
    let fifth = turned(turned(turned(turned(turned(Turn(counter, seed))))));
    return turned(turned(turned(turned(turned(fifth))))).counter;
}
