import { useTranslation } from 'react-i18next';
import { Page } from '../ui/page';

export function Admin() {
  const { t } = useTranslation('admin');
  return <Page title={t('title')}>{null}</Page>;
}
