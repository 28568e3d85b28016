// The page: what to run, how far it is, what came of it. `?export=URL&filter=PATTERNS&limit=N` fills the form, `&run` starts.

import { Export, failureText, ok, run, skips, summary } from './run.js';

const at = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
at('url').value = query.get('export') ?? 'export/';
at('filter').value = query.get('filter') ?? '';
at('limit').value = query.get('limit') ?? '';

// As many failures as the page shows one by one; the report has all.
const SHOWN = 50;

// Reads files of an export at an address.
function fromUrl(base) {
    // A server that does not know of ranges sends the whole file: it is kept.
    const whole = new Map();
    return async (name, start, length) => {
        if (!whole.has(name)) {
            const range = start === undefined ? {} : { headers: { Range: `bytes=${start}-${start + length - 1}` } };
            const url = new URL(name, new URL(base, location.href));
            const response = await fetch(url, range);
            // A range after the end of the file.
            if (response.status === 416) {
                return new Uint8Array();
            }
            if (!response.ok) {
                throw new Error(`${url}: ${response.status} ${response.statusText}`);
            }
            if (start === undefined || response.status === 206) {
                return new Uint8Array(await response.arrayBuffer());
            }
            whole.set(name, await response.blob());
        }
        return new Uint8Array(await whole.get(name).slice(start, start + length).arrayBuffer());
    };
}

// Reads files of an export in a folder that was chosen.
function fromFolder(files) {
    const named = new Map([...files].map((file) => [file.webkitRelativePath.split('/').slice(1).join('/'), file]));
    return async (name, start = 0, length = Infinity) => {
        if (!named.has(name)) {
            throw new Error(`the folder has no ${name}`);
        }
        return new Uint8Array(await named.get(name).slice(start, start + length).arrayBuffer());
    };
}

function element(tag, text, name = '') {
    const made = document.createElement(tag);
    made.textContent = text;
    made.className = name;
    return made;
}

function row(name, tally, kind) {
    const made = element('tr', '', kind);
    const cells = ['executed', 'passed', 'failed', 'skipped'].map((key) => {
        return element('td', tally[key], key === 'failed' && tally[key] > 0 ? 'bad' : '');
    });
    made.append(element('td', name), ...cells);
    return made;
}

// The table: each kernel, then its kinds.
function show(report) {
    const kernels = new Map();
    for (const [kind, tally] of Object.entries(report.kinds).sort()) {
        const kernel = kind.split('/', 1)[0];
        kernels.set(kernel, [...(kernels.get(kernel) ?? []), [kind, tally]]);
    }
    const rows = [...kernels].flatMap(([kernel, kinds]) => {
        const sum = { executed: 0, passed: 0, failed: 0, skipped: 0 };
        Object.keys(sum).forEach((key) => kinds.forEach(([, tally]) => (sum[key] += tally[key])));
        return [row(kernel, sum, 'kernel'), ...kinds.map(([kind, tally]) => row(kind, tally))];
    });
    at('kinds').replaceChildren(...rows);
    at('skips').replaceChildren(...Object.entries(report.skipped).map(([reason, n]) => element('li', `${n} skipped: ${reason}`)));
    at('results').hidden = false;
    const { executed, passed, failures } = report;
    return `${executed} executed, ${passed} passed, ${failures.length} failed, ${skips(report)} skipped`;
}

function status(text, name) {
    at('status').textContent = text;
    at('status').className = name ?? '';
}

let stopped = false;
let report = null;

async function start() {
    at('run').disabled = true;
    at('stop').disabled = false;
    at('save').disabled = true;
    at('failed').hidden = true;
    at('results').hidden = true;
    at('failures').replaceChildren();
    document.body.dataset.state = 'running';
    stopped = false;
    report = null;
    try {
        status('Reading the export.');
        const base = at('url').value.replace(/\/?$/, '/');
        const files = at('folder').files;
        const source = await Export.open(files.length > 0 ? fromFolder(files) : fromUrl(base));
        const patterns = at('filter').value.split(/\s+/).filter((pattern) => pattern);
        const cases = source.select(patterns, Number(at('limit').value) || Infinity);
        if (cases.length === 0) {
            throw new Error(`none of the ${source.index.cases.length} cases is selected`);
        }
        at('bar').hidden = false;
        let shown = 0;
        report = await run({
            gpu: navigator.gpu,
            source,
            cases,
            patterns,
            implementation: 'browser',
            userAgent: navigator.userAgent,
            stop: () => stopped,
            async progress({ done, of, name, failed, report: sofar }) {
                at('bar').value = done / of;
                if (failed) {
                    at('failed').hidden = false;
                    if (sofar.failures.length <= SHOWN) {
                        const item = element('li', '');
                        item.append(element('pre', failureText(failed).replace(/^FAILED /, '')));
                        at('failures').append(item);
                    }
                }
                const now = performance.now();
                if (now - shown > 200) {
                    shown = now;
                    status(`${done} of ${of}: ${show(sofar)}; ${name}`);
                    // Lets the page be drawn.
                    await new Promise((then) => setTimeout(then));
                }
            },
        });
        const ended = report.ended === null ? '' : ` Ended early: ${report.ended}.`;
        const seconds = report.seconds.toFixed(1);
        status(`${ok(report) ? 'Conforms' : 'Does not conform, as far as was run'}: ${show(report)}, in ${seconds} s.${ended}`, ok(report) ? 'good' : 'bad');
        if (report.failures.length === 0 && !ok(report)) {
            status(`Nothing was wrong, and not all was run: ${show(report)}, in ${seconds} s.${ended}`, 'bad');
        }
        at('save').disabled = false;
        console.log(summary(report));
    } catch (error) {
        status(`${error.message}`, 'bad');
    }
    at('run').disabled = false;
    at('stop').disabled = true;
    // For programs that drive the page.
    globalThis.report = report;
    document.body.dataset.state = 'done';
}

at('form').addEventListener('submit', (event) => {
    event.preventDefault();
    start();
});
at('stop').addEventListener('click', () => {
    stopped = true;
});
at('save').addEventListener('click', () => {
    const link = element('a', '');
    link.href = URL.createObjectURL(new Blob([JSON.stringify(report, null, 1)], { type: 'application/json' }));
    link.download = 'onesum-conformance.json';
    link.click();
    URL.revokeObjectURL(link.href);
});

// Why WebGPU is not to be had, or null.
async function obstacle() {
    if (!navigator.gpu) {
        const why = globalThis.isSecureContext
            ? 'Chrome and Edge have it, Safari from 26 on, Firefox from 141 on (Windows); on Linux, Chrome may want chrome://flags/#enable-unsafe-webgpu.'
            : 'Browsers offer it to pages from https:// and from localhost only.';
        return `This browser does not offer WebGPU here. ${why}`;
    }
    const adapter = await navigator.gpu.requestAdapter().catch(() => null);
    if (!adapter) {
        return 'This browser has WebGPU and finds no adapter: it knows no driver that it would use. chrome://gpu says why; chrome://flags/#enable-unsafe-webgpu allows more of them.';
    }
    const { vendor, architecture, description } = adapter.info ?? {};
    const name = [description || vendor, architecture].filter((s) => s).join(', ') || 'not named by the browser';
    at('adapter').textContent = `Adapter: ${name}${adapter.info?.isFallbackAdapter ? ' (software)' : ''}.`;
    return null;
}

const why = await obstacle();
if (why) {
    at('adapter').textContent = why;
    at('adapter').className = 'bad';
    at('run').disabled = true;
} else if (query.has('run')) {
    await start();
}
document.body.dataset.state ??= 'ready';
