// The workbook: deletions, callers and clusters, exceptions, health.
import { tagMap } from 'types.bicep'

param location string
param tags tagMap
param workspaceId string

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(workspaceId, 'podwatch')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'podwatch'
    category: 'workbook'
    sourceId: workspaceId
    version: '1.0'
    serializedData: replace(loadTextContent('../workbook.json'), '{workspaceId}', workspaceId)
  }
}
