import tailwindcss from '@tailwindcss/vite';
import react from '@vitejs/plugin-react';
import { loadEnv, type Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

/** Serves and emits `/config.json`, which operators may replace without building again. */
function runtimeConfig(apiUrl: string): Plugin {
  const source = `${JSON.stringify({ apiUrl }, null, 2)}\n`;
  return {
    name: 'runtime-config',
    configureServer(server) {
      server.middlewares.use('/config.json', (_request, response) => {
        response.setHeader('content-type', 'application/json');
        response.end(source);
      });
    },
    generateBundle() {
      this.emitFile({ type: 'asset', fileName: 'config.json', source });
    },
  };
}

/**
 * The policy travels with the page, so that a bucket that sets no headers has it too. Where the API and the pictures
 * are is known at run time only; a server in front may narrow `connect-src` and `img-src` by a header of its own.
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' http: https:",
  "font-src 'self'",
  "manifest-src 'self'",
  "connect-src 'self' http: https:",
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

function contentSecurityPolicy(): Plugin {
  return {
    name: 'content-security-policy',
    // The development server needs inline scripts for hot reload.
    apply: 'build',
    transformIndexHtml: () => [
      {
        tag: 'meta',
        attrs: { 'http-equiv': 'Content-Security-Policy', content: CONTENT_SECURITY_POLICY },
        injectTo: 'head-prepend',
      },
    ],
  };
}

export default defineConfig(({ mode }) => {
  const environment = loadEnv(mode, process.cwd(), ['VITE_', 'API_', 'PORT']);
  const proxy = { '/api': { target: environment.API_PROXY ?? 'http://localhost:3000' } };
  const port = Number(environment.PORT ?? 5173);
  return {
    plugins: [
      react(),
      tailwindcss(),
      runtimeConfig(environment.VITE_API_URL ?? ''),
      contentSecurityPolicy(),
    ],
    server: { port, strictPort: true, proxy },
    preview: { port, strictPort: true, proxy },
    build: {
      target: 'es2022',
      // The policy forbids `data:` pictures, and small files are cheap over HTTP/2.
      assetsInlineLimit: 0,
      manifest: true,
      modulePreload: { polyfill: false },
    },
    test: { environment: 'jsdom', include: ['src/**/*.test.{ts,tsx}'], restoreMocks: true },
  };
});
