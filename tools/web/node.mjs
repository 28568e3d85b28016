// Exported conformance cases on Dawn, the WebGPU of Chrome, in Node (npm package `webgpu`).
//
//   node node.mjs [OPTIONS] EXPORT [PATTERN...]   runs cases of an export, all without a pattern
//   node node.mjs --validate FOLDER               compiles every text of an export, or of a folder of texts, without a driver
//
//   --json FILE     writes the report
//   --limit N       so many of the cases, spread evenly
//   --timeout S     seconds that an answer is waited for; 120
//   --dawn FLAG     goes to Dawn, as `backend=vulkan` or `adapter=NAME`; may come again
//
// The exit status is that of `onesum conform`: 0 when cases ran and all were right, 3 when one failed (or a text was refused), 2 when
// the command line makes no sense or selects nothing, 1 for all else: no adapter, no case that ran.

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

class Usage extends Error {}

const USAGE = 'usage: node node.mjs [--json FILE] [--limit N] [--timeout S] [--dawn FLAG]... EXPORT [PATTERN...] | --validate FOLDER';

function parse() {
    const config = {
        allowPositionals: true,
        options: {
            validate: { type: 'boolean' },
            json: { type: 'string' },
            limit: { type: 'string' },
            timeout: { type: 'string', default: '120' },
            dawn: { type: 'string', multiple: true, default: [] },
        },
    };
    try {
        const { values, positionals: [folder, ...patterns] } = parseArgs(config);
        const [limit, timeout] = [values.limit ?? Infinity, values.timeout].map(Number);
        if (folder && limit > 0 && timeout > 0) {
            return { ...values, folder, patterns, limit, timeout };
        }
    } catch (error) {
        throw new Usage(`${error.message}\n${USAGE}`);
    }
    throw new Usage(USAGE);
}

async function main() {
    const { folder, patterns, limit, timeout, ...values } = parse();
    if (values.validate) {
        const gpu = await dawn(['backend=null', 'enable-dawn-features=allow_unsafe_apis', ...values.dawn]);
        return (await validate(gpu, folder, console.log)) ? 0 : 3;
    }
    const gpu = await dawn(values.dawn);
    const source = await Export.open(reader(folder));
    const cases = source.select(patterns, limit);
    if (cases.length === 0) {
        throw new Usage(`no case of ${folder} is selected`);
    }
    const { version } = JSON.parse(fs.readFileSync(new URL('node_modules/webgpu/package.json', import.meta.url)));
    const report = await run({
        gpu,
        source,
        cases,
        patterns,
        implementation: 'dawn',
        userAgent: `Dawn in webgpu ${version}, Node ${process.version}`,
        timeout: timeout * 1000,
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
    console.log(`${report.adapter.name}, ${report.adapter.driver}, ${report.seconds.toFixed(1)} s`);
    console.log(summary(report));
    return ok(report) ? 0 : report.failures.length > 0 ? 3 : 1;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
    let status = 1;
    try {
        status = await main();
    } catch (error) {
        status = error instanceof Usage ? 2 : 1;
        console.error(error.message);
    }
    // Dawn's own threads do not always survive an orderly end. What is printed goes out first.
    await new Promise((done) => process.stdout.write('', done));
    process.reallyExit(status);
}
