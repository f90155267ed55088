import { useTranslation } from 'react-i18next';
import { formatDate, formatDateTime } from '../lib/dates';
import { formatRupees } from '../lib/money';

/** Amounts and instants as the user's language writes them. */
export function useFormat() {
  const { i18n } = useTranslation();
  const language = i18n.language;
  return {
    rupees: (amount: number) => formatRupees(amount, language),
    date: (instant: string) => formatDate(instant, language),
    dateTime: (instant: string) => formatDateTime(instant, language),
  };
}
