// Exported conformance cases on Dawn, the WebGPU of Chrome, in Node (npm package `webgpu`).
//
//   node node.mjs [OPTIONS] EXPORT [PATTERN...]   runs cases of an export, all without a pattern
//   node node.mjs --validate FOLDER               compiles every text of an export, or of a folder of texts, without a driver
//
//   --json FILE     writes the report
//   --limit N       so many of the cases, spread evenly
//   --timeout S     seconds that an answer is waited for; 60
//   --dawn FLAG     goes to Dawn, as `backend=vulkan` or `adapter=NAME`; may come again
//
// The exit status is 0 when cases ran and all were right, 1 when not, 2 when nothing could be run, 3 when there is no adapter.

import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { Export, failureText, ok, run, summary } from './run.js';
import { validate } from './validate.js';

// Reads an export's files.
export function reader(folder) {
    return async (name, start, length) => {
        const file = await fs.promises.open(path.join(folder, name));
        try {
            if (start === undefined) {
                return await file.readFile();
            }
            const bytes = new Uint8Array(length);
            let filled = 0;
            for (let count = -1; filled < length && count !== 0; filled += count) {
                ({ bytesRead: count } = await file.read(bytes, filled, length - filled, start + filled));
            }
            return bytes.subarray(0, filled);
        } finally {
            await file.close();
        }
    };
}

// Dawn's WebGPU. To be kept in a variable: Dawn does not survive it being collected.
export async function dawn(flags) {
    let webgpu;
    try {
        webgpu = await import('webgpu');
    } catch (error) {
        throw new Error(`the npm package webgpu does not load (${error.message}): run  npm ci --prefix tools/web`);
    }
    Object.assign(globalThis, webgpu.globals);
    return webgpu.create(flags);
}

async function main() {
    const { values, positionals } = parseArgs({
        allowPositionals: true,
        options: {
            validate: { type: 'boolean' },
            json: { type: 'string' },
            limit: { type: 'string' },
            timeout: { type: 'string', default: '60' },
            dawn: { type: 'string', multiple: true, default: [] },
        },
    });
    const [folder, ...patterns] = positionals;
    const numbers = [values.limit ?? '1', values.timeout].map(Number);
    if (!folder || !numbers.every((n) => n > 0)) {
        throw new Error('usage: node node.mjs [--json FILE] [--limit N] [--timeout S] [--dawn FLAG]... EXPORT [PATTERN...] | --validate FOLDER');
    }
    if (values.validate) {
        const gpu = await dawn(['backend=null', 'enable-dawn-features=allow_unsafe_apis', ...values.dawn]);
        return (await validate(gpu, folder, console.log)) ? 0 : 1;
    }
    const gpu = await dawn(values.dawn);
    if (!(await gpu.requestAdapter())) {
        console.error('no adapter that Dawn accepts');
        return 3;
    }
    const source = await Export.open(reader(folder));
    const cases = source.select(patterns, values.limit === undefined ? Infinity : Number(values.limit));
    if (cases.length === 0) {
        throw new Error(`no case of ${folder} is selected`);
    }
    const { version } = JSON.parse(fs.readFileSync(new URL('node_modules/webgpu/package.json', import.meta.url)));
    const start = performance.now();
    const report = await run({
        gpu,
        source,
        cases,
        implementation: 'dawn',
        userAgent: `Dawn in webgpu ${version}, Node ${process.version}`,
        timeout: Number(values.timeout) * 1000,
        progress({ done, of, failed }) {
            if (failed) {
                console.log(failureText(failed));
            }
            if (done % 1000 === 0) {
                console.error(`${done} of ${of}`);
            }
        },
    });
    if (values.json) {
        fs.writeFileSync(values.json, JSON.stringify(report, null, 1));
    }
    console.log(`${report.adapter.name}, ${report.adapter.driver}, ${((performance.now() - start) / 1000).toFixed(1)} s`);
    console.log(summary(report));
    return ok(report) ? 0 : 1;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
    let status = 2;
    try {
        status = await main();
    } catch (error) {
        console.error(error.message);
    }
    // Dawn's own threads do not always survive an orderly end. What is printed goes out first.
    await new Promise((done) => process.stdout.write('', done));
    process.reallyExit(status);
}
