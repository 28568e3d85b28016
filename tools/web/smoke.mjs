// The page in headless Chromium:  node smoke.mjs [OPTIONS] EXPORT [PATTERN...]
//
//   --json FILE          writes the report
//   --limit N            so many of the cases, spread evenly
//   --screenshot FILE    what the page looks like in the end; `FILE` with `-narrow` before its ending: on a telephone
//
// WebGPU runs on SwiftShader, which Chromium brings with it. The variable CHROMIUM names another program than the installed one.
// The exit status is that of node.mjs.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { failureText, ok, summary } from './run.js';
import { serve } from './serve.mjs';

const { values, positionals: [folder, ...patterns] } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'string' }, limit: { type: 'string', default: '' }, screenshot: { type: 'string' } },
});
if (!folder) {
    console.error('usage: node smoke.mjs [--json FILE] [--limit N] [--screenshot FILE] EXPORT [PATTERN...]');
    process.exit(2);
}

if (!fs.existsSync(path.join(folder, 'index.json'))) {
    console.error(`${folder} is not an export: it has no index.json`);
    process.exit(1);
}

function find() {
    for (const name of [process.env.CHROMIUM, 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']) {
        try {
            return execFileSync('sh', ['-c', 'command -v "$0"', name ?? ''], { encoding: 'utf8' }).trim();
        } catch {
            // The next one, then.
        }
    }
    throw new Error('no Chromium: install the package chromium, or name a program in the variable CHROMIUM');
}

const FLAGS = ['--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan'];

async function main() {
    const server = await serve(folder, 0);
    const browser = await chromium.launch({ executablePath: find(), args: FLAGS });
    const address = new URL(`http://localhost:${server.address().port}/`);
    // `query` fills the page's form; `prepare` sees the page before it loads.
    const open = async (query, prepare = async () => {}) => {
        const page = await browser.newPage({ viewport: { width: 1000, height: 800 } });
        page.setDefaultTimeout(600000);
        page.on('pageerror', (error) => console.error(`the page: ${error.message}`));
        await prepare(page);
        await page.goto(`${address}?${new URLSearchParams(query)}`);
        await page.waitForSelector('body[data-state]', { state: 'attached' });
        return page;
    };
    const click = async (page) => {
        await page.click('#run');
        // However long it takes: the runner gives up on each case that has no answer, and a crash ends the wait.
        await page.waitForSelector('body[data-state=done]', { state: 'attached', timeout: 0 });
        return page.evaluate(() => globalThis.report);
    };
    const expect = (right, what) => {
        if (!right) {
            throw new Error(`the page: ${what}`);
        }
    };
    try {
        const none = await open({}, (page) => page.addInitScript(() => Object.defineProperty(navigator, 'gpu', { value: undefined })));
        expect((await none.textContent('#adapter')).includes('does not offer WebGPU'), 'nothing is said where there is no WebGPU');
        expect(await none.isDisabled('#run'), 'there is a button where there is no WebGPU');
        await none.close();

        const empty = await open({ filter: 'nonsense' });
        expect((await click(empty)) === null, 'a filter that selects nothing gives a report');
        expect((await empty.textContent('#status')).includes('is selected'), 'nothing is said where nothing is selected');
        await empty.close();

        // Faults have to be found, and to end nothing else.
        const refuse = (page) => page.route('**/*.wgsl', (route) => route.fulfill({ body: 'fn main() { nonsense(); }' }));
        // More than one case: some of them may want what this device lacks.
        const refused = await open({ limit: 5 }, refuse);
        const refusals = await click(refused);
        expect(refusals.executed > 0 && refusals.failures.length === refusals.executed, 'shaders that do not compile are not found');
        await refused.close();

        const other = (page) => page.route('**/index.json', async (route) => {
            const index = await (await route.fetch()).json();
            for (const check of index.cases.flatMap(({ script }) => script.filter(({ op }) => op === 'check'))) {
                Object.assign(check, { want: [4, check.size], loose: [] });
            }
            await route.fulfill({ json: index });
        });
        const changed = await open({ limit: 5 }, other);
        const changes = await click(changed);
        expect(changes.executed > 0 && changes.failures.length === changes.executed, 'other results than those of the export are not found');
        await changed.close();

        const page = await open({ filter: patterns.join(' '), limit: values.limit });
        const report = await click(page);
        expect(report, await page.textContent('#status'));
        if (values.screenshot) {
            await page.screenshot({ path: values.screenshot });
            await page.setViewportSize({ width: 375, height: 800 });
            const { dir, name, ext } = path.parse(values.screenshot);
            await page.screenshot({ path: path.join(dir, `${name}-narrow${ext}`) });
        }
        const [download] = await Promise.all([page.waitForEvent('download'), page.click('#save')]);
        const saved = JSON.parse(fs.readFileSync(await download.path(), 'utf8'));
        expect(saved.executed === report.executed, 'the downloaded report is another');
        if (values.json) {
            fs.writeFileSync(values.json, JSON.stringify(report, null, 1));
        }
        report.failures.slice(0, 20).forEach((failed) => console.log(failureText(failed)));
        console.log(`${report.adapter.name}, Chromium ${browser.version()}, ${report.seconds.toFixed(1)} s`);
        console.log(summary(report));
        return ok(report) ? 0 : report.failures.length > 0 ? 3 : 1;
    } finally {
        await browser.close();
        server.close();
    }
}

try {
    process.exitCode = await main();
} catch (error) {
    console.error(error.message);
    process.exitCode = 1;
}
