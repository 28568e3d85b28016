//! The shapes that are tuned unless the command line says otherwise: a factor of four or eight apart, so that every shape
//! in between is within the radius of an entry.

use super::Kernel;
use crate::bench::definitions::Size;

/// More elements than this take long, and are no other case than fewer.
const MOST_ELEMENTS: usize = 1 << 22;

/// Rows or tokens, columns, choices.
pub fn of(kernel: Kernel) -> Vec<Size> {
    // Experts and choices of the routers in use.
    let routers = [(8, 2), (64, 6), (128, 8), (256, 8), (512, 10)];
    let routed = |tokens: &[u32]| {
        tokens.iter().flat_map(|&t| routers.map(|(experts, choices)| size(t, experts, choices))).collect::<Vec<_>>()
    };
    match kernel {
        Kernel::Softmax => {
            let mut shapes = product(&[1, 8, 64, 512, 4096], &[32, 128, 512, 2048, 8192, 32_768, 131_072]);
            // Those whose rows are no multiples of four.
            shapes.extend([size(1, 50_257, 0), size(64, 1001, 0), size(512, 197, 0)]);
            shapes
        }
        Kernel::Gumbel => product(&[1, 8, 64, 512], &[128, 1024, 8192, 131_072]),
        Kernel::Sample => {
            let mut shapes = product(&[1, 8, 64], &[1024, 8192, 32_768, 131_072]);
            shapes.push(size(8, 50_257, 0));
            shapes
        }
        Kernel::Router | Kernel::Plan => routed(&[1, 8, 64, 512, 4096]),
        Kernel::Stats | Kernel::ExpertChoice => routed(&[64, 512, 4096]),
        Kernel::Dispatch | Kernel::Combine => {
            let within = |s: &Size| s.elements() * s.choices as usize <= 2 * MOST_ELEMENTS;
            let all =
                [1_u32, 8, 64, 512].into_iter().flat_map(|t| [256, 1024, 2048, 7168].map(|hidden| size(t, hidden, 8)));
            all.filter(within).collect()
        }
    }
}

fn size(rows: u32, cols: u32, choices: u32) -> Size {
    Size { rows, cols, choices }
}

fn product(rows: &[u32], cols: &[u32]) -> Vec<Size> {
    let all = rows.iter().flat_map(|&r| cols.iter().map(move |&c| size(r, c, 0)));
    all.filter(|s| s.elements() <= MOST_ELEMENTS).collect()
}
