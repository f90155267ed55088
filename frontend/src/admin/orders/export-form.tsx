import { useMutation } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { asProblem } from '../../api/problem';
import { Button } from '../../ui/button';
import { Trouble } from '../../ui/trouble';
import { saveFile } from '../ui/save-file';
import { exportOrders, type ExportFilter } from './queries';

/** The orders that the list shows, on all its pages, as a file. */
export function ExportForm({ filter }: { filter: ExportFilter }) {
  const { t } = useTranslation('admin');
  const run = useMutation({
    mutationFn: exportOrders,
    onSuccess: (file) => saveFile(file, 'orders.csv'),
  });
  return (
    <section aria-labelledby="export" className="mt-8 card p-4">
      <h2 id="export" className="mb-1 text-lg font-bold">
        {t('export.title')}
      </h2>
      <p className="mb-4 text-muted">{t('export.text')}</p>
      <Button look="secondary" busy={run.isPending} onClick={() => run.mutate(filter)}>
        {t('export.save')}
      </Button>
      {run.error && (
        <div className="mt-4">
          <Trouble
            problem={asProblem(run.error)}
            failures={run.failureCount}
            onRetry={() => run.mutate(run.variables)}
          />
        </div>
      )}
    </section>
  );
}
