// Serves the page and, as export/ beside it, an export:  node serve.mjs EXPORT [PORT]

import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.wgsl': 'text/plain' };
const PAGE = ['index.html', 'page.css', 'page.js', 'run.js', 'judge.js'];

// The file of a request, or null: the page's own, and those of an export.
function find(folder, name) {
    if (PAGE.includes(name)) {
        return fileURLToPath(new URL(name, import.meta.url));
    }
    const [, file] = name.match(/^export\/(index\.json|data\.bin|programs\/\w+\.wgsl)$/) ?? [];
    return file ? path.join(folder, file) : null;
}

// Listens on localhost; port 0 is any that is free.
export async function serve(folder, port) {
    const server = http.createServer((request, response) => {
        const name = new URL(request.url, 'http://localhost').pathname.slice(1) || 'index.html';
        const file = find(folder, name);
        if (!file || !fs.existsSync(file)) {
            response.writeHead(404).end();
            return;
        }
        const { size } = fs.statSync(file);
        const headers = { 'Content-Type': TYPES[path.extname(file)] ?? 'application/octet-stream', 'Cache-Control': 'no-store', 'Accept-Ranges': 'bytes' };
        const range = request.headers.range?.match(/^bytes=(\d+)-(\d+)$/);
        const [start, end] = range ? [Number(range[1]), Math.min(Number(range[2]), size - 1)] : [0, size - 1];
        if (range && start >= size) {
            response.writeHead(416, { 'Content-Range': `bytes */${size}` }).end();
            return;
        }
        const partial = range ? { 'Content-Range': `bytes ${start}-${end}/${size}` } : {};
        response.writeHead(range ? 206 : 200, { ...headers, ...partial, 'Content-Length': end - start + 1 });
        fs.createReadStream(file, { start, end: Math.max(end, start) }).on('error', () => response.destroy()).pipe(response);
    });
    await new Promise((then, fail) => server.on('error', fail).listen(port, '127.0.0.1', then));
    return server;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
    const [folder, port = '8080'] = process.argv.slice(2);
    if (!folder || !fs.existsSync(path.join(folder, 'index.json'))) {
        console.error('usage: node serve.mjs EXPORT [PORT]\nEXPORT is a folder that `onesum conform --export` wrote');
        process.exit(2);
    }
    const server = await serve(folder, Number(port));
    console.log(`http://localhost:${server.address().port}/`);
}
