// Two counters of 16 bits a word: 4096 experts, the dropped, the others.
const RUNNING = 2049u;

var<workgroup> running: array<atomic<u32>, RUNNING>;

fn clear_running(local: u32) {
    for (var i = local; i < RUNNING; i += WIDTH) {
        atomicStore(&running[i], 0u);
    }
}

fn running_of(bucket: u32) -> u32 {
    return (atomicLoad(&running[bucket / 2u]) >> (bucket % 2u * 16u)) & 0xffffu;
}

// One more in this bucket. A sum of integers: the order does not matter.
fn run_on(bucket: u32) {
    atomicAdd(&running[bucket / 2u], 1u << (bucket % 2u * 16u));
}
