import { useMutation } from '@tanstack/react-query';
import { useId, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { api, read } from '../../api/client';
import { asProblem } from '../../api/problem';
import { Button, buttonClass } from '../../ui/button';
import { fieldText } from '../../ui/field-text';
import { Notice } from '../../ui/notice';
import { Page } from '../../ui/page';
import { Trouble } from '../../ui/trouble';
import { refresh } from '../ui/refresh';
import { Table } from '../ui/table';
import { importErrorsOf, linesOf, type BadCell } from './import-errors';

const COLUMNS = 'sku,name,price,category,description,stock_quantity,image_url';

type Chosen = { name: string; text: string };

export function ImportPage() {
  const { t } = useTranslation(['admin', 'fields']);
  const [file, setFile] = useState<Chosen | null>(null);
  const send = useMutation({
    mutationFn: async ({ text }: Chosen) => {
      const imported = await read(
        api.POST('/api/products/import', {
          body: text,
          bodySerializer: (body) => body,
          headers: { 'content-type': 'text/csv' },
        }),
      );
      await refresh();
      return imported;
    },
  });

  return (
    <Page title={t('import.title')} width="narrow">
      <div className="grid gap-5">
        <div className="grid gap-2">
          <p>{t('import.text')}</p>
          <p>{t('import.columns')}</p>
          <code className="card p-3 text-sm break-all">{COLUMNS}</code>
        </div>
        <form
          className="grid gap-4 card p-4 sm:p-6"
          onSubmit={(event) => {
            event.preventDefault();
            if (file) send.mutate(file);
          }}
        >
          <FileField
            onChoose={(chosen) => {
              send.reset();
              setFile(chosen);
            }}
          />
          <Button type="submit" busy={send.isPending} disabled={!file}>
            {t('import.send')}
          </Button>
        </form>
        {send.data && (
          <Notice tone="success" live>
            <p className="font-medium">{t('import.done')}</p>
            <ul className="my-2 list-disc pl-5">
              <li>{t('import.created', { count: send.data.created })}</li>
              <li>{t('import.updated', { count: send.data.updated })}</li>
              <li>{t('import.unchanged', { count: send.data.unchanged })}</li>
            </ul>
            <Link href="/admin/products" className={buttonClass('plain')}>
              {t('products.title')}
            </Link>
          </Notice>
        )}
        {send.error && file && (
          <Refused error={send.error} file={file} onRetry={() => send.mutate(file)} />
        )}
      </div>
    </Page>
  );
}

function FileField({ onChoose }: { onChoose: (file: Chosen | null) => void }) {
  const { t } = useTranslation('admin');
  const id = useId();
  return (
    <div>
      <label htmlFor={id} className="mb-1 block font-medium">
        {t('import.file')}
      </label>
      <input
        id={id}
        type="file"
        accept=".csv,text/csv"
        className="field file:mr-3 file:rounded-md file:border-0 file:bg-brand-soft file:px-3 file:py-1.5 file:font-semibold file:text-brand"
        // The same file, mended meanwhile, is to be read again.
        onClick={(event) => {
          event.currentTarget.value = '';
          onChoose(null);
        }}
        onChange={(event) => {
          const chosen = event.target.files?.[0];
          if (chosen) void chosen.text().then((text) => onChoose({ name: chosen.name, text }));
        }}
      />
    </div>
  );
}

type RefusedProps = { error: unknown; file: Chosen; onRetry: () => void };

function Refused({ error, file, onRetry }: RefusedProps) {
  const { t } = useTranslation('admin');
  const problem = asProblem(error);
  const { cells, others } = importErrorsOf(problem.fields);
  if (cells.length === 0 && others.length === 0) {
    return <Trouble problem={problem} onRetry={onRetry} />;
  }
  const lines = linesOf(file.text);
  return (
    <section aria-label={t('import.errors')} className="grid gap-3">
      <Notice tone="danger" live>
        <p className="font-medium">{t('import.refused', { count: cells.length })}</p>
        <ul>
          {others.map(({ field, message }) => (
            <li key={field}>
              {field}: {fieldText(problem, message)}
            </li>
          ))}
        </ul>
      </Notice>
      {cells.length > 0 && (
        <Table<BadCell>
          caption={t('import.errors')}
          rows={cells}
          keyOf={(cell) => `${cell.line} ${cell.column} ${cell.message}`}
          columns={[
            {
              header: t('import.line'),
              cell: ({ line }) => t('import.lineNumber', { line }),
              whole: true,
            },
            { header: t('import.column'), cell: ({ column }) => column || '–', whole: true },
            { header: t('import.message'), cell: ({ message }) => fieldText(problem, message) },
            {
              header: t('import.content'),
              cell: ({ line }) => (
                <code className="line-clamp-3 text-sm">{lines[line - 1] ?? ''}</code>
              ),
            },
          ]}
        />
      )}
    </section>
  );
}
